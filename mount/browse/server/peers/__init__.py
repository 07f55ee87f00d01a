"""Which user of this machine is at the other end of a loopback connection."""
