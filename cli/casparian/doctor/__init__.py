"""What `casparian doctor` looks at. `measure` touches the machine, `judge` turns what was measured into verdicts."""
