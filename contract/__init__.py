"""All that the services share: the IM on the wire, the broker's topology, the policy rules. No I/O."""
