"""How each step works: plain functions `run(config, inputs, out, execution) -> StageResult`. Not Dagster `@op`s."""
