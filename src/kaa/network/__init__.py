"""Networks of containers: veth pairs, bridges, addresses and routes, over rtnetlink(7).

`model` is what one writes down, `connect` makes it, `bridge` is the switch on
the host's side. Nothing here is imported before a container asks for a network.
"""
