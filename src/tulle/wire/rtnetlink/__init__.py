"""rtnetlink: links, addresses, routes, neighbours and FDB entries, bytes ⇄ values by interface index.

One module for each kind of object, with the kernel's own field names.  What a device is called
and which objects are wanted is other rooms' business.  Source: rtnetlink(7) and the headers named
in each module.
"""
