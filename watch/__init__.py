"""What operators see: the dashboards, metrics, traces and reports of a run."""
