"""The console on a terminal: it takes keys and clicks, shows frames, and performs the shell's effects.

The package owns sockets, threads, processes, files and the terminal itself. It decides nothing: the shell interprets messages
and draws frames. Only this part of the console may import prompt_toolkit.
"""
