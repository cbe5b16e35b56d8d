"""Stage risk: positions, stops and pre-trade checks."""
