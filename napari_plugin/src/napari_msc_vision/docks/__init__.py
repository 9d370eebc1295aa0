"""The docks: each shows what the session knows and hands it what a person does; nothing is measured here."""
