"""Sending: from an instrument's disk to the archiver, complete and once. `neve send` and `neve watch` are made of this.

| module            | what it is                                                                                             |
|-------------------|--------------------------------------------------------------------------------------------------------|
| `source`          | a file as it stands on the disk, and the scan that finds them                                          |
| `sums`            | checksum manifests: what a file's SHA-256 should be                                                    |
| `offer`           | what `neve send` offers: files, with the sums of the manifests among them                              |
| `patience`        | how long to wait when the network, the archiver or the store are away: without end, said once          |
| `answers`         | the shapes of the archiver's answers                                                                   |
| `reception`       | the archiver's side of the protocol over HTTP                                                          |
| `store`           | PUTs to the store, to addresses that the archiver signed                                               |
| `journal`         | what was sent from this machine                                                                        |
| `events`          | what a sending tells while it runs; the lines of `--json`                                              |
| `run`             | one sending under way: where each of its files stands                                                  |
| `whole`, `parts`  | the threads that send files whole and large ones in parts                                              |
| `packed`          | the threads that send small files together, in one tar                                                 |
| `sender`          | `send()`: a dataset's files, hashed while they are sent, each once                                     |
| `commands`, `bar` | the command line of `neve send`, and its bar                                                           |
| `watch`           | the loop of `neve watch`, on `agent` (settings), `inbox`, `ready`, `grouping`, `sightings`, `sweeping` |
| `__main__`        | `neve-send.pyz`: both commands without typer's arguments                                               |

Law: only the standard library, httpx, rich and typer; nothing that exists on POSIX alone. The key goes to the archiver only, the bytes to the store
only, and a signed address is a secret: it stands in no message.
"""
