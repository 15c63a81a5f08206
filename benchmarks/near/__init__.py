"""How much of an application's traffic a near cache answers, by a simulation."""
