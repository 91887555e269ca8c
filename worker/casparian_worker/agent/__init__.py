"""The worker process: talks to the sentinel, holds leases, hands work to its slots, offers what is finished.

`agent` is the conversation, `holding` what is in hand, `bus` the socket, `slots` the threads that work, `sealer` the thread
that makes finished work durable, `artifacts` what was fetched, `scanning` the SCAN jobs. It decides nothing: what is not
its own any more it stops and forgets.
"""
