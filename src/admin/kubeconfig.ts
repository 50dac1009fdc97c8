/**
 * A kubeconfig for the admin API, so that kubectl and client libraries find it. It holds no
 * credentials: the API listens on loopback alone.
 */

/** The YAML text of a kubeconfig whose one context talks to `url` ("http://127.0.0.1:9900"). */
export function kubeconfigText(url: string): string {
  // Plain HTTP has no certificate to verify, and some clients refuse it unless told that so it is.
  const plain = url.startsWith("http://") ? "\n    insecure-skip-tls-verify: true" : "";
  return `apiVersion: v1
kind: Config
clusters:
- name: sluice
  cluster:
    server: ${JSON.stringify(url)}${plain}
contexts:
- name: sluice
  context:
    cluster: sluice
    user: sluice
    namespace: default
current-context: sluice
users:
- name: sluice
  user: {}
`;
}
