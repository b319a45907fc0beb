//! Examples and remarks below the help of the commands, by the name of each.

pub(super) const UP: &str = "\
Examples:
  hornero up examples/site --reason 'new front page'
  hornero up --prune             and take down what this directory no longer declares
  hornero up --adopt shop        and take `shop` over from the directory that it belongs to
  hornero up plan.json           exactly what `hornero plan --out plan.json` showed, or nothing
  hornero up --preview pr-7 --dir ../branch --for 2h     beside what serves, at `pr-7.HOST`
  hornero up --preview old --release 16 --share 5% site  and 5% of the requests for `site`

What the directory declared before and no longer declares is asked about on a terminal. Elsewhere,
without `--prune` and `--no-prune`, nothing is changed: exit code 3.";
pub(super) const PATCH: &str = "\
Examples:
  hornero patch examples/fleet --dry-run     which packages would change
  hornero patch examples/fleet --deploy      and roll the patched images out

An image moves without being baked where it is proven to hold on the new base; else it is baked on
it, and the reasons are told. The old base, images and packages stay: `hornero up --base IMAGE` and
`hornero rollback` go back.";
pub(super) const PLAN: &str = "\
Examples:
  hornero plan
  hornero plan --out plan.json && hornero up plan.json
  hornero plan --detailed-exitcode       10 where there is something to change";
pub(super) const TOP: &str = "\
Examples:
  hornero top                          live, until Ctrl-C
  hornero top site --once
  hornero top site --since 24h         over time, from what is kept for weeks
  hornero top site-17-k3f9q2 --since 7d --step 1h      also of one that is gone

Rates are of the last seconds. HELD are requests that waited to be let in.";
pub(super) const INVENTORY: &str = "\
Examples:
  hornero inventory --format csv > servers.csv
  hornero inventory --format cyclonedx > inventory.cdx.json
  hornero inventory --format prometheus > /var/lib/prometheus/node-exporter/hornero.prom

Whose a service is say its `labels`. Ids name the same thing for as long as it is there.";
pub(super) const RECYCLE: &str = "\
Examples:
  hornero recycle site --reason 'leaks memory'    all servers of a service, the oldest first
  hornero recycle site-17-k3f9q2                  one

Each new server serves before the old one leaves. `max_age` of a service does the same by itself.";
pub(super) const RUN: &str = "\
Examples:
  hornero run site -- /srv/app migrate         what serves of `site`: its image, configuration and secrets
  hornero run site@17 -- /srv/app check        an earlier release
  hornero run base --timeout 5m -- sh -c 'cat /etc/os-release'

The server gets no requests and is gone when the command has ended. What it writes is shown line by
line; with `--json` all of it goes to stderr. The exit code is the command's, 128 and the signal that
ended it, 124 where it took too long, 130 where it was cancelled, 125 where it did not start. Ctrl-C
ends it. The command stands in the ledger: a secret is no argument.";
pub(super) const CANCEL: &str = "\
Examples:
  hornero cancel               what is under way, where that is one service
  hornero cancel site --reason 'wrong branch'
  hornero cancel run-site-k3f9q2ab             one-off work

An operation that waits ends before it begins. Once the new release is proven, `hornero rollback` is
the way back.";
pub(super) const CHURN: &str = "\
Examples:
  hornero churn                       every service, the last 24 hours
  hornero churn site --since 7d

Memory is each server's limit by the time that it was there.";
pub(super) const RESUME: &str = "\
Examples:
  hornero resume site --reason 'the queue is back'
  hornero resume --reason 'disk replaced'          everything that was stopped in this home

`hornero status` says what was stopped, and by which limit. Traffic is not touched by it, and what
somebody asks for by hand goes on meanwhile.";
pub(super) const ROLLOUT: &str = "\
Examples:
  hornero rollout pause site --reason 'looking at the error log'
  hornero rollout promote site           the canary's next step, whatever is known of this one
  hornero rollout promote site --full    all requests, after every check of the switch itself
  hornero rollout abort site             back to what served

A rollout can be paused while it prepares its servers, while it is a canary, and between batches.
What fails is taken back all the same, and so is one that stays paused for 3 days.";
pub(super) const LOCK: &str = "\
Examples:
  hornero lock examples/site
  hornero lock examples/site --update     what `patch` would lock; nothing is baked yet";
pub(super) const VERIFY: &str = "\
Examples:
  hornero verify                                  every running server, by metadata first
  hornero verify site --full                      read and hash everything
  hornero verify --tree /mnt/root --image site@17 --ignore var/lib/data

Without `--full`, a file of a directory that was changed without changing its size, and whose time
was put back, is not seen. Exit code 1 means that something differs.";
pub(super) const STATE_LINT: &str = "\
Examples:
  hornero state-lint                what this directory's services hold, declared and running
  hornero state-lint shop --watch 1m

Databases and queues by their packages, volumes that an imported image asks for, directories for data
and databases in files are found without a server; of servers that run also what they have written to
scratch. Exit code 1 means that something would be lost.";
pub(super) const LOGS: &str = "\
Examples:
  hornero logs site --since 10m --follow
  hornero logs site -n 20                 the last 20 lines of all its servers";
pub(super) const AUTOPSY: &str = "\
Examples:
  hornero autopsy                              the server that failed last
  hornero autopsy site-7-k3j9x2ab --json
  hornero autopsy /tmp/site.bundle             from another machine

A bundle is made of every server that failed, a few an hour of one service. It needs no control process to be read.";
pub(super) const QUARANTINE: &str = "\
Examples:
  hornero quarantine site-7-k3j9x2ab --for 2h --reason 'odd latencies'
  hornero quarantine ls
  hornero quarantine release site-7-k3j9x2ab

Another server takes its place first, so there has to be room for one more. When its time is up it is removed.";
pub(super) const BREAK_GLASS: &str = "\
Examples:
  hornero break-glass site-7-k3j9x2ab --reason 'hangs since 10:40' --for 15m
  hornero break-glass site-7-k3j9x2ab --reason 'who is open?' --for 1m -- ls -l /proc/2/fd
  hornero break-glass ls
  hornero break-glass replay glass-k3j9x2ab

The ledger knows who, why and until when before anything is executed. A session has no more rights than the server, ends with
this command, and is recorded before anything of it is shown. It ends as its command did: with its exit code, 124 where its
time was up, 125 where nothing was executed or it was ended. Only a server that serves can be entered.";
pub(super) const DOWN: &str = "\
Examples:
  hornero down examples/site     what it declares
  hornero down                   what this directory declares; without a `hornero.hcl`, everything in this home
  hornero down --all             everything in this home
  hornero down --force site      one service, before everything else that waits";
pub(super) const INIT: &str = "\
Examples:
  hornero init                           pages, a Python, Node, Go or Rust program, a Dockerfile, a compose file:
                                         whatever is here; a page to start with where nothing is
  hornero init --from compose.yaml       each of its services
  hornero init --from ./server           one program

What can't be mapped is named. Nothing that is there is written over.";
pub(super) const FMT: &str = "\
Examples:
  hornero fmt                  the `hornero.hcl` of this directory
  hornero fmt --check site/    for a pre-commit hook or CI: exit code 1 where something would change";
pub(super) const UPGRADE: &str = "\
Examples:
  /opt/hornero-0.3/bin/hornero upgrade     this program becomes the one that serves
  hornero upgrade --json                   after `dpkg -i`, as the package does itself

Servers are not touched. The edge hands over its listeners; what is open at the old one goes on there.
Exit code 4: this program did not start, and the one from before serves again.";
pub(super) const SETTINGS: &str = "\
Examples:
  hornero settings             what `settings.hcl` of the home says, and what is by default
  hornero settings --json

A file with mistakes ends with exit code 2 and shows them; control goes on with what it said before.";

pub const DASHBOARD: &str = "\
Examples:
  hornero dashboard                       a link that only looks
  hornero dashboard --role operator       one that may act, as `docs/guides/api.md` says
  ssh -L 8443:127.0.0.1:8443 HOST         from elsewhere, with `hornero dashboard --port 8443` on the host

The link is valid once, for five minutes; what the browser gets for it, for twelve hours.";
