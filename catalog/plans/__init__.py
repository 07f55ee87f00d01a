"""What is backed up and when: records of plans, what they say together, and this machine's copy of them."""
