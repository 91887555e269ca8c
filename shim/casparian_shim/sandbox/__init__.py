"""How a guest gives up its rights before anything of a parser is touched. Standard library only.

`landlock` limits files, TCP, signals and abstract sockets; `seccomp` limits system calls, with the numbers in `syscalls`;
`privileges` gives up capabilities and root; `confine` puts them on as a worker planned. `probe` tries what this machine has. The
process that runs SQL of users takes `landlock` too.
"""
