"""The enforcer: carries out suspensions and restorations, and records only what it verified."""
