"""The lease protocol on a virtual clock: tulle's own agents, a cluster that fails on purpose, and the laws they keep.

A seed is a whole story: which nodes there are, what befalls them and when, how slow each message
is.  The agents are the real ones, from ``agent.daemon.be_a_node`` down to etcd's messages; made up
are the cluster behind those messages (``tests.kit.etcd_memory``), the kernels (``kernel.fake``) and
time.  ``laws`` says what must hold at every step and at the end; ``bugs`` plants mistakes, each of
which has to be found.

    python -m tests.simulation --seed 17          one story, told
    python -m tests.simulation --seeds 0 5000     many, those that break a law named
"""
