"""The worker process: talks to the sentinel, holds leases, hands work to its slots, offers what is finished.

`leases` decides everything, as a pure state machine; `agent` is the loop around it, `reports` what is said in which
messages, `connection` the socket, `slots` the threads, `work` what a slot does with one lease, `upkeep` what is tidied and
measured.
"""
