#!/bin/sh
# Makes the namespace where there is none. Ended jobs are kept for $RETENTION.
set -eu

temporal operator cluster health
temporal operator namespace describe --namespace "$NAMESPACE" >/dev/null 2>&1 ||
  temporal operator namespace create --namespace "$NAMESPACE" --retention "$RETENTION"
