"""An application to be observed, alert rules for Prometheus, and a dashboard for Grafana."""
