/**
 * Paths of Unix sockets before they are bound. A process that was killed leaves its socket behind, and
 * nobody can bind the path until it is removed; what somebody answers on, and what is no socket, stays.
 */
import { lstat, unlink } from "node:fs/promises";
import { connect } from "node:net";

/**
 * Makes way for a socket at `path`: removes one on which nobody answers. Undefined where the path is
 * free then; else what stands in the way, for a person.
 */
export async function clearUnixPath(path: string): Promise<string | undefined> {
  try {
    if (!(await lstat(path)).isSocket()) return `${path} is there and is no socket`;
    const error = await connectionError(path);
    if (error === undefined) return `${path} is in use by another program`;
    if (error.code === "ECONNREFUSED") await unlink(path);
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? undefined : `${path} cannot be opened (${code ?? message})`;
  }
}

/** Why nobody answers at `path`; undefined where somebody does. */
function connectionError(path: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ path }, () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once("error", resolve);
  });
}
