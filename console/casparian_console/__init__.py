"""The console: what an operator sees of a home, as a function of messages (decision 0010).

The package owns the facts that the screens draw from, the screens, and the terminal that shows them. Effects name what is
wanted, and `terminal` performs them. Everything outside `terminal` is pure: it uses no socket, file, clock or thread. Time and
answers arrive as messages, so a test needs no terminal.
"""
