"""Many runs: which ones a table is made of, what is left of them to do, how each stands."""
