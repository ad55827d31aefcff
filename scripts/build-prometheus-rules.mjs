// Writes k8s/components/monitoring/prometheus-rules.yaml from deploy/prometheus: `node scripts/build-prometheus-rules.mjs`. Kustomize cannot
// lift a file into a field of a resource, and the operator wants the rules there.
import { readFileSync, writeFileSync } from 'node:fs';

const ROOT = new URL('../', import.meta.url);
const HEAD = '# Written by scripts/build-prometheus-rules.mjs from deploy/prometheus: edit there.\n';

/** One resource per file: names of groups are unique within a resource only. */
function resourceOf(name) {
  const rules = readFileSync(new URL(`deploy/prometheus/${name}.yml`, ROOT), 'utf8');
  const spec = rules.replace(/^(?=.)/gm, '  ');
  return `apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: quantloom-${name}
  labels: { app.kubernetes.io/name: quantloom }
spec:
${spec}`;
}

const resources = ['recording-rules', 'alert-rules'].map(resourceOf);
writeFileSync(new URL('k8s/components/monitoring/prometheus-rules.yaml', ROOT), HEAD + resources.join('---\n'));
