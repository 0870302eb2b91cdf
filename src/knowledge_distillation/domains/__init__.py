"""Fields of use: data, adapters, pipelines and models of each, as a thin layer over one core."""
