"""The whole stack as plain processes on loopback: `make demo`, `make up`, and the tests' parts."""
