"""Configuration: one YAML a method, one group an interface. A package only because Hydra finds it that way."""
