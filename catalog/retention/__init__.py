"""How long recovery points are kept: pure functions, without a clock, a store or a screen."""
