"""The fleet: front ends, the policy that each runs, and how far each got."""
