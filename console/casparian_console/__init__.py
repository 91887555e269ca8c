"""The console: what an operator sees of a home, as a function of messages (decision 0010).

Owns the facts that the screens draw from, the screens, and the terminal that they are drawn on. It asks the daemon for
nothing itself: effects name what is wanted, `terminal` performs them. Everything outside `terminal` is pure: no socket, file,
clock or thread; time and answers arrive as messages, so that a test needs no terminal.
"""
