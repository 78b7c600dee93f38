"""The listener for SIP edges: a request as it came, and may it be relayed?"""
