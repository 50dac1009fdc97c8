/**
 * A kubeconfig for the admin API, so that kubectl and client libraries find it. It holds no
 * credentials: the API listens on loopback alone.
 */

/** The YAML text of a kubeconfig whose one context talks to `url`, for example "http://127.0.0.1:9900". */
export function kubeconfigText(url: string): string {
  return `apiVersion: v1
kind: Config
clusters:
- name: sluice
  cluster:
    server: ${JSON.stringify(url)}
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
