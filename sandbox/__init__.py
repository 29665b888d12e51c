"""The sandbox: runs one job, returns one outcome. Knows no HTTP, policies, budgets or people."""
