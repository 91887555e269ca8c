"""What each attack must come to, at each level. docs/reference/attacks.md is generated from this table.

The numbers are those of the attacks as they were first listed; `+` marks one that was added. An outcome is the name of an error
of the system, or what the attacker got. `OPEN` marks what a level does not stop: it is tried all the same, and must do no
harm beyond it.
"""

from __future__ import annotations

from dataclasses import dataclass

OPEN = "not stopped"
#: The call succeeds and changes nothing.
NOTHING = "no effect"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attempt. `basic` and `old` (strong on a kernel with Landlock ABI 1) default to `strong`."""

    number: str
    name: str
    does: str
    #: L Landlock, S filter of system calls, R limits, U a user of its own (workers that run as root), N a network of its own
    #: (where the kernel allows it).
    by: str
    strong: str
    basic: str = ""
    old: str = ""

    def expected(self, level: str) -> str:
        other = {"basic": self.basic, "old": self.old}.get(level, "")
        return other or self.strong


_FILES = [
    Attack("1", "reads_accounts", "reads /etc/passwd", "L", "EACCES", OPEN),
    Attack("1", "reads_shadow", "reads /etc/shadow", "L", "EACCES", OPEN),
    Attack("1", "reads_a_private_key", "reads a private key of the user", "L", "EACCES", OPEN),
    Attack("1", "reads_the_config", "reads Casparian's configuration", "L", "EACCES", OPEN),
    Attack("1", "reads_the_tables", "reads Casparian's DuckDB file", "L", "EACCES", OPEN),
    Attack("1", "reads_the_log", "reads the event log", "L", "EACCES", OPEN),
    Attack("1", "lists_the_home", "lists the home", "L", "EACCES", OPEN),
    Attack("2", "finds_secrets_in_its_environment", "looks for secrets in its environment", "scrub", "absent"),
    Attack("2", "reads_the_workers_environment", "reads /proc/PPID/environ", "L", "EACCES", OPEN),
    Attack("+", "lists_processes", "lists all processes in /proc", "L", "EACCES", OPEN),
    Attack("+", "lists_the_workers_descriptors", "lists /proc/PPID/fd", "L", "EACCES", OPEN),
    Attack("+", "reads_another_root", "reads through /proc/1/root", "L", "EACCES", OPEN),
    Attack("+", "follows_its_own_proc_root", "reads through /proc/self/root", "L", "EACCES", OPEN),
    Attack("+", "reads_a_disk", "reads a disk past its file system", "L", "EACCES", OPEN),
    Attack("12", "fills_the_disk", "makes a sparse file of 1 TB in scratch", "R", "EFBIG"),
    Attack("12", "reserves_space", "reserves space in scratch without writing", "S", "ENOTSUP"),
    Attack("13", "writes_another_jobs_scratch", "writes into another job's scratch", "L, U", "EACCES", OPEN),
    Attack("13", "writes_another_jobs_staging", "writes into another job's staging", "L, U", "EACCES", OPEN),
    Attack("13", "writes_its_library", "writes into its interpreter's library", "L, U", "EACCES", OPEN),
    Attack("13", "writes_its_own_bundle", "writes into its own bundle", "L, U", "EACCES", OPEN),
    Attack("13", "writes_the_input", "appends to the input", "L, U", "EACCES", OPEN),
    Attack("13", "empties_the_input_by_reading", "opens the input to read it, and empties it", "L, S", "EPERM"),
    Attack("13", "truncates_the_input", "truncates the input by its path", "L, S, U", "EACCES", OPEN, "EPERM"),
    Attack("13", "replaces_the_input", "renames a file of its own over the input", "L, U", "EACCES", OPEN),
    Attack("13", "removes_the_input", "removes the input", "L, U", "EACCES", OPEN),
    Attack("14", "links_to_a_secret", "makes a symbolic link to a secret", "L, S", "EPERM"),
    Attack("14", "links_hard_to_a_secret", "makes a hard link to a secret", "L, S", "EPERM"),
    Attack("+", "moves_a_secret_in", "moves a secret into scratch", "L, U", "EACCES", OPEN),
    Attack("+", "makes_a_device", "makes a device file of a disk", "L, S", "EPERM"),
    Attack("17", "changes_a_mode", "chmod of a file outside", "S", NOTHING),
    Attack("17", "changes_an_owner", "chown of a file outside", "S", NOTHING),
    Attack("17", "changes_times", "utime of a file outside", "S", NOTHING),
    Attack("17", "changes_an_attribute", "setxattr on a file outside", "S", "ENOTSUP"),
    Attack("20", "reads_past_python", "opens /etc/passwd by ctypes", "L", "EACCES", OPEN),
    Attack("41", "writes_to_the_shared_tmp", "leaves a file in /tmp", "L", "EACCES", OPEN),
    Attack("42", "writes_to_shared_memory", "leaves a file in /dev/shm", "L", "EACCES", OPEN),
    Attack("42", "locks_a_shared_file", "locks a file that other guests read", "S", NOTHING),
    Attack("46", "reads_a_neighbours_input", "reads another input of the directory", "L", "EACCES", OPEN),
    Attack("46", "reads_another_jobs_scratch", "reads another job's scratch", "L", "EACCES", OPEN),
    Attack("+", "opens_a_handle_later", "opens a file handle that it got earlier", "S", "EPERM"),
    Attack(
        "+", "takes_a_lease_on_the_input", "takes a lease, which holds up programs that write the input", "S", "EPERM"
    ),
    Attack("+", "watches_a_directory", "watches directories by inotify", "S", "EPERM"),
    Attack("+", "marks_everything", "watches file systems by fanotify", "S", "EPERM"),
]
_PROCESSES = [
    Attack("6", "forks", "forks", "S", "EPERM"),
    Attack("6", "forks_past_python", "fork, vfork and clone past the C library", "S", "EPERM"),
    Attack("6", "clones_the_new_way", "clone3, whose options no filter sees", "S", "ENOSYS"),
    Attack("7", "starts_ten_thousand_threads", "starts 10,000 threads", "R", "RuntimeError"),
    Attack("8", "starts_a_shell", "starts a shell", "S", "EPERM"),
    Attack("8", "becomes_a_program", "becomes another program", "L, S", "EPERM"),
    Attack("8", "runs_a_file_in_memory", "makes a file in memory, to run it", "S", "EPERM"),
    Attack("8", "runs_a_descriptor", "runs a descriptor", "S", "EPERM"),
    Attack("9", "takes_all_memory", "takes 8 GiB of memory", "R", "MemoryError"),
    Attack("18", "kills_the_worker", "kills its worker", "L, S, U", "EPERM"),
    Attack("18", "kills_everybody", "kills every process", "L, S, U", "EPERM"),
    Attack("18", "kills_its_group", "signals a process group", "S", "EPERM"),
    Attack("18", "stops_a_neighbour", "stops another process", "L, S, U", "EPERM"),
    Attack("+", "signals_a_thread_of_a_neighbour", "signals a thread of another process", "L, S, U", "EPERM"),
    Attack("+", "queues_a_signal", "queues a signal with a value", "L, S, U", "EPERM"),
    Attack("+", "opens_a_process", "opens a descriptor of another process", "S", "EPERM"),
    Attack("+", "signals_by_a_descriptor", "signals by such a descriptor", "L, S", "EPERM"),
    Attack("+", "has_a_descriptor_signal_the_worker", "has a pipe send SIGIO to its worker", "L, S", "EPERM"),
    Attack("19", "traces_the_worker", "traces its worker", "S, U", "EPERM"),
    Attack("19", "traces_a_neighbour", "traces another process", "S, U", "EPERM"),
    Attack("19", "reads_a_neighbours_memory", "reads another process's memory", "S, U", "EPERM"),
    Attack("19", "reads_the_workers_memory", "opens /proc/PPID/mem", "L, U", "EACCES", OPEN),
    Attack("19", "steals_a_descriptor", "takes a descriptor out of another process", "S", "EPERM"),
    Attack("23", "becomes_a_setuid_program", "becomes su", "L, S", "EPERM"),
    Attack("24", "raises_its_limits", "raises its limits", "R", "ValueError"),
    Attack("+", "outlives_its_worker", "asks to live on after its worker", "S", "EPERM"),
    Attack("+", "leaves_its_session", "leaves its session", "S", "EPERM"),
    Attack("+", "slows_the_worker", "lowers its worker's priority", "S", "EPERM"),
    Attack("+", "pins_the_worker", "pins its worker to one processor", "S", "EPERM"),
    Attack("+", "limits_the_worker", "lowers its worker's limits", "S", "EPERM"),
    Attack("+", "allows_core_files", "allows core files and tracing of itself", "S", "EPERM"),
    Attack("+", "inherits_descriptors", "looks for inherited descriptors", "closed", "directory", "nothing else"),
]
_NETWORK = [
    Attack("3", "connects_to_the_sentinel", "connects to a port of this machine", "L, S", "EPERM"),
    Attack("3", "connects_to_the_world", "connects to 192.0.2.1", "L, S", "EPERM"),
    Attack("3", "asks_for_a_name", "resolves a name", "L, S", "gaierror"),
    Attack("+", "lists_the_machines_sockets", "lists the machine's sockets in /proc/net", "N", "nothing"),
    Attack("4", "opens_a_datagram_socket", "opens a UDP socket", "S", "EPERM"),
    Attack("4", "opens_a_raw_socket", "opens a raw socket", "S", "EPERM"),
    Attack("4", "opens_a_packet_socket", "opens a packet socket", "S", "EPERM"),
    Attack("4", "opens_netlink", "opens a netlink socket", "S", "EPERM"),
    Attack("4", "opens_a_socket_to_its_host", "opens a vsock socket", "S", "EPERM"),
    Attack("5", "connects_to_a_local_socket", "connects to a Unix socket by its path", "S", "EPERM"),
    Attack("5", "connects_to_an_abstract_socket", "connects to an abstract socket", "L, S", "EPERM"),
    Attack(
        "+",
        "makes_a_pair_that_sends_anywhere",
        "makes a pair of datagram sockets, which send to any path",
        "S",
        "EPERM",
    ),
    Attack("+", "turns_its_socket_around", "connects the job's socket elsewhere", "L, S", "EPERM"),
    Attack("+", "turns_its_socket_to_a_name", "connects the job's socket to another socket here", "L, S", "EPERM"),
    Attack("+", "connects_by_sending", "connects by sending (TCP fast open)", "S", "EPERM"),
    Attack("+", "listens_on_its_socket", "listens on the job's socket", "S", "EPERM"),
    Attack("+", "sets_an_option_of_its_socket", "sets options of the job's socket", "S", "EPERM"),
    Attack("20", "runs_machine_code", "opens a socket by machine code of its own", "S", "EPERM"),
]
_KERNEL = [
    Attack("21", "sets_up_io_uring", "sets up io_uring", "S", "EPERM"),
    Attack("21", "enters_io_uring", "uses io_uring", "S", "EPERM"),
    Attack("22", "makes_a_user_namespace", "makes a user namespace", "S", "EPERM"),
    Attack("22", "enters_a_namespace", "enters a namespace", "S", "EPERM"),
    Attack("22", "mounts", "mounts a file system", "S", "EPERM"),
    Attack("+", "mounts_the_new_way", "mounts by fsopen", "S", "EPERM"),
    Attack("+", "opens_a_tree", "copies a mount by open_tree", "S", "EPERM"),
    Attack("+", "changes_its_root", "changes its root directory", "S", "EPERM"),
    Attack("24", "removes_its_filter", "removes its filter", "S", "EPERM"),
    Attack("24", "adds_a_filter", "puts a filter of its own on", "S", "EPERM"),
    Attack("+", "makes_rules", "makes rules of its own", "S", "EPERM"),
    Attack("42", "makes_shared_segments", "makes shared memory of System V", "S", "EPERM"),
    Attack("42", "makes_semaphores", "makes semaphores of System V", "S", "EPERM"),
    Attack("42", "makes_message_queues", "makes message queues of System V", "S", "EPERM"),
    Attack("42", "opens_a_message_queue", "opens a POSIX message queue", "S", "EPERM"),
    Attack("+", "adds_a_key", "adds a key to a keyring", "S", "EPERM"),
    Attack("+", "reads_keys", "reads keyrings", "S", "EPERM"),
    Attack("+", "handles_page_faults", "handles page faults (userfaultfd)", "S", "EPERM"),
    Attack("+", "loads_a_program_into_the_kernel", "loads a BPF program", "S", "EPERM"),
    Attack("+", "measures_others", "counts events of other processes", "S", "EPERM"),
    Attack("+", "reads_the_kernels_log", "reads the kernel's log", "S", "EPERM"),
    Attack("+", "loads_a_module", "loads a kernel module", "S", "EPERM"),
    Attack("+", "loads_a_kernel", "loads another kernel", "S", "EPERM"),
    Attack("+", "restarts_the_machine", "restarts the machine", "S", "EPERM"),
    Attack("+", "swaps", "turns swapping on", "S", "EPERM"),
    Attack("+", "sets_the_clock", "sets the clock", "S", "EPERM"),
    Attack("+", "changes_its_personality", "turns randomised addresses off", "S", "EPERM"),
    Attack("+", "becomes_root", "becomes root", "S, U", "EPERM"),
    Attack("+", "takes_capabilities", "takes capabilities", "S, U", "EPERM"),
    Attack("+", "types_into_the_terminal", "types into a terminal (TIOCSTI)", "S", "EPERM"),
    Attack("+", "types_with_a_longer_number", "the same with a number that only looks different", "S", "EPERM"),
    Attack("+", "makes_every_other_call", "makes every other system call, and future ones", "S", "refused"),
]
#: One guest makes all of these.
IN_ONE_GUEST = [*_FILES, *_PROCESSES, *_NETWORK, *_KERNEL]
#: Each in a guest of its own, which it ends: the code of the job.
ALONE = [
    Attack("20", "calls_by_another_convention", "calls under the numbers of x32", "S", "SIGSYS"),
    Attack("20", "calls_as_a_32_bit_program", "calls as a 32-bit program", "S", "SIGSYS"),
    Attack("10", "loops", "loops forever", "R", "TIMEOUT"),
    Attack("11", "ignores_limits_of_time", "loops, and ignores the signal at its limit", "R", "TIMEOUT"),
    Attack("+", "crashes", "crashes, to leave a core file with its memory", "R", "SIGSEGV"),
]
EVERY = [*IN_ONE_GUEST, *ALONE]

_EXECUTE, _GUESTS = "tests/worker/test_execute.py", "tests/worker/test_raw_guests.py"
_RAW = f"{_GUESTS}::test_a_breach_ends_the_job_and_is_named"
_GUARD = "tests/worker/validation/test_arrow_guard.py"
#: What the worker's own code stops, at any level: the attack, and the test that holds it.
ELSEWHERE = [
    ("sleeps forever, or in a regular expression", f"{_EXECUTE}::test_an_endless_loop_ends_at_the_wall_clock"),
    (
        "ignores SIGTERM",
        f"{_EXECUTE}::test_a_cancelled_guest_is_gone_in_two_seconds_though_it_ignores_the_signal",
    ),
    ("leaves a process behind (level none)", f"{_EXECUTE}::test_children_left_behind_are_ended_with_the_job"),
    ("makes a link in scratch (level none)", f"{_EXECUTE}::test_a_link_in_scratch_leads_no_removal_outside"),
    (
        "makes directories deeper than any recursion",
        f"{_EXECUTE}::test_a_scratch_deeper_than_any_recursion_is_removed_and_ends_no_job",
    ),
    (
        "removes its files in scratch and keeps them open (seen by workers that run as root)",
        "tests/worker/test_housekeeping.py::test_what_a_guest_has_removed_and_keeps_counts_as_scratch",
    ),
    (
        "moves directories in scratch while they are measured",
        "tests/worker/test_housekeeping.py::test_directories_that_move_hide_nothing_from_the_limits_of_scratch",
    ),
    (
        "looks for the worker's orders to other guests, in a worker with hundreds of files open",
        "tests/worker/guest/test_warm.py::test_a_guest_has_no_descriptor_but_its_own",
    ),
    ("names an output `../../x`", _RAW),
    ("sends a frame above 64 MiB, an unknown signal, a second end", _RAW),
    ("sends a batch after the end, no end, a wrong count", _RAW),
    ("changes its columns in mid-stream, sends two columns of one name", _RAW),
    (
        "closes in mid-frame, or sends a byte a second",
        f"{_GUESTS}::test_a_frame_that_never_completes_is_a_breach_at_its_deadline",
    ),
    ("announces a thousand outputs with 8 MiB about each", f"{_GUESTS}::test_what_is_said_about_outputs_is_not_kept"),
    (
        "names an encoding that does not exist, another one for each row",
        "tests/worker/test_records.py::test_any_text_may_be_given_as_the_name_of_an_encoding",
    ),
    ("half-closes its stream and is silent", f"{_GUESTS}::test_a_half_closed_stream_and_silence_is_ended"),
    ("sends everything and exits with 1", f"{_GUESTS}::test_everything_sent_and_exit_1_is_a_failure"),
    (
        "says hello with a wrong token, or never",
        "tests/hostile/test_rogue_guest.py::test_whatever_it_says_it_ends_its_own_job_alone",
    ),
    ("forges log lines, escapes and records of the worker", f"{_GUESTS}::test_forged_log_lines_are_the_guests"),
    ("floods stdout past the shim", f"{_EXECUTE}::test_a_flood_on_a_raw_descriptor_is_cut_and_counted"),
    (
        "claims that its failure may be retried",
        "tests/shim/test_frames.py::test_a_guest_cannot_burn_retries_by_calling_its_failure_retryable",
    ),
    ("sends compressed Arrow, a bomb", f"{_GUARD}::test_compressed_bodies_are_refused"),
    ("sends extension types, which could run code", f"{_GUARD}::test_extension_metadata_is_refused"),
    ("sends Arrow nested 10,000 deep", f"{_GUARD}::test_deep_nesting_is_refused"),
    ("sends views and run-end types, whose size can lie", f"{_GUARD}::test_types_whose_size_can_lie_are_refused"),
    ("sends damaged Arrow", f"{_GUARD}::test_a_damaged_message_is_refused_or_valid_and_never_anything_else"),
    ("sends text that is not UTF-8", f"{_GUARD}::test_invalid_utf8_is_refused"),
    ("sends too many rows or bytes at once", f"{_GUARD}::test_rows_and_bytes_are_capped"),
    ("does not end after its stream", f"{_EXECUTE}::test_a_guest_that_does_not_end_after_its_stream_is_ended"),
]
