"""The console on a terminal: keys and clicks in, frames out, and everything that the shell wants done.

Owns sockets, threads, processes, files and the terminal itself. Decides nothing: what a message means and what a frame
shows is the shell's. May import prompt_toolkit, which the rest of the console may not.
"""
