"""
Commands of the AWS CLI, each in a fork of this one process that has loaded the CLI and its model of EC2 before:
loading takes ten times what a call takes. Reads calls from standard input, one JSON object a line, and says of each
on standard output when it has ended: its id and its exit code.
"""
import json
import os
import signal
import sys

from awscli.clidriver import create_clidriver

driver = create_clidriver()
# Loads what every call needs; nothing is asked of that address.
driver.session.create_client(
    'ec2', region_name='us-east-1', aws_access_key_id='none', aws_secret_access_key='none', endpoint_url='http://127.0.0.1:1')
answers = os.dup(1)


def run(call):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(call['stdout'], os.O_WRONLY | os.O_CREAT, 0o600), 1)
    os.dup2(os.open(call['stderr'], os.O_WRONLY | os.O_CREAT, 0o600), 2)
    os.environ.update(call['env'])
    code = 255
    try:
        code = driver.main(call['words'])
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(answers, f"{call['id']} {code}\n".encode())


# Nobody waits for the forks: they are to leave no zombies.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if os.fork() == 0:
        try:
            run(json.loads(line))
        finally:
            os._exit(0)
