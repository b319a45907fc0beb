#!/bin/bash
# Runs what the host asks for through a virtio port, one command at a time, and answers with its exit code and output.
# Asked:    NUMBER SECONDS COMMAND       (the command in base64)
# Answered: done NUMBER EXIT STDOUT STDERR   (output in base64, `-` where there is none)
port=/dev/virtio-ports/hornero.agent
until [ -e "$port" ]; do sleep 0.1; done
exec 3<>"$port"
directory=$(mktemp -d /run/test-agent.XXXXXX)
# More than this of one command's output is no answer but an accident.
limit=4194304
encoded() {
    if [ -s "$1" ]; then head -c "$limit" "$1" | base64 -w0; else printf -; fi
}
echo "ready" >&3
while read -r number seconds text <&3; do
    timeout -k 5 "$seconds" bash -c "$(base64 -d <<<"$text")" \
        >"$directory/out" 2>"$directory/err" 3>&- </dev/null
    echo "done $number $? $(encoded "$directory/out") $(encoded "$directory/err")" >&3
done
