"""How it runs: backends, minds, journal, store, ledger, runner, measures, command line."""
