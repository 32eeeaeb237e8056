# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_cloudtaser_global_optspecs
    string join \n h/help V/version
end

function __fish_cloudtaser_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_cloudtaser_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_cloudtaser_using_subcommand
    set -l cmd (__fish_cloudtaser_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "agent" -d 'Ask the agent of this node, or order it: status, guard, grant, grants, unload'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "run" -d 'Start a program with secrets from OpenBao in sealed memory'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "demo" -d 'Show what an attacker gets, without and with cloudtaser, on this machine'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "install" -d 'Put cloudtaser on a cluster'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "status" -d 'Say what is protected on a cluster, at which level, and why not'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "doctor" -d 'Say what stands in the way, on a cluster or this machine, and how to mend it'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "discover" -d 'Find workloads that use Kubernetes Secrets, and plan their way out'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "migrate" -d 'Copy the values of Kubernetes Secrets into OpenBao, as a plan says'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "upgrade" -d 'Renew the cloudtaser of a cluster'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "uninstall" -d 'Take cloudtaser off a cluster, and leave nothing'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "probe" -d 'Attack a running process: try every road by which others could read its secrets'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "policy" -d 'Say what a release policy of a bridge would do'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "compose" -d 'Check policies of KubeArmor, Tetragon, seccomp and Kubernetes against what cloudtaser needs'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "evidence" -d 'Work with receipts of releases: make keys, export, show, verify, compare'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "report" -d 'Write a report for DORA, NIS2, GDPR or Schrems II from evidence that verifies'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "witness" -d 'Run a witness of logs: sign that they only grow'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "bridge" -d 'Beside OpenBao: set up the bridge, invite clusters, let them in, put them out'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "broker" -d 'In the cluster: join a bridge by an invitation, and carry what programs there say to it'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "man" -d 'Print the manual page, or write one per verb'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand agent" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand run" -l plan -d 'The launch plan, as YAML or JSON' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand run" -l require -d 'Refuse to start below this level, such as memory=sealed or T3=partial; may be repeated' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand run" -l log-format -d 'Form of the wrapper\'s log lines' -r -f -a "text\t''
json\t''"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand run" -l explain -d 'Say what protects an app here, per adversary; fetch and start nothing'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand run" -s q -l quiet -d 'Log warnings and errors only'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand run" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand run" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand demo" -l json -d 'Print everything that was seen as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand demo" -l no-agent -d 'Start no node agent, and let the wrapper stand alone'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand demo" -l keep -d 'Leave the directory with the logs behind, and say where'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand demo" -l no-color -d 'Print without colour, as with NO_COLOR set'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand demo" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand demo" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l values -d 'What differs from the defaults; also the values of the Helm chart' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l registry -d 'Where the images are that the values do not name: HOST/PATH' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l tag -d 'Their tag' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l openbao -d 'The OpenBao of pods, where the values name none: https://HOST:PORT' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l openbao-ca -d 'The authorities for its certificate, as PEM' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l invitation -d 'An invitation of the bridge beside OpenBao, in a file, or - for standard input. It is a secret: not on a command line' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l bridge -d 'The key of the bridge that this cluster is enrolled at: ed25519:…; none to give it up' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -s n -l namespace -d 'Where the operator runs' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l kubeconfig -d 'The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l context -d 'The context in it; else its current one' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l wait -d 'How long to wait until it is ready; 0 not to' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -s o -l output -d 'Form of what is printed' -r -f -a "json\t'A list object'
yaml\t'One document per object'"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l chart -d 'Write a Helm chart to this folder instead' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l take-over -d 'Take fields over that somebody else has set'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l json -d 'Print the result as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -l dry-run -d 'Print what would be applied; ask no cluster'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand install" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand status" -l kubeconfig -d 'The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand status" -l context -d 'The context in it; else its current one' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand status" -l html -d 'Write the result as a page for a browser or a printer, instead of printing it' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand status" -l evidence -d 'Receipts of releases (a bundle, a tlog-proof, or the folder of a log), for when each pod was given secrets last' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand status" -l policy -d 'Whose receipts to believe (C2SP tlog-policy)' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand status" -l json -d 'Print the result as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand status" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand status" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand doctor" -l kubeconfig -d 'The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand doctor" -l context -d 'The context in it; else its current one' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand doctor" -l declared -d 'Where parts of the deployment stand and who runs them, which nobody can measure' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand doctor" -l local -d 'Look at this machine instead of a cluster'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand doctor" -l sovereignty -d 'Say what lies outside of a claim for the EU, and what nobody can show'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand doctor" -l json -d 'Print the result as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand discover" -l kubeconfig -d 'The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand discover" -l context -d 'The context in it; else its current one' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand discover" -s n -l namespace -d 'Look at this namespace alone; else at all but those of the system' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand discover" -l mount -d 'The KV engine where the values are to live' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand discover" -l plan -d 'Write the plan to this file' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand discover" -l json -d 'Print the plan as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand discover" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand discover" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l kubeconfig -d 'The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l context -d 'The context in it; else its current one' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l plan -d 'The plan that `cloudtaser discover` wrote' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l openbao -d 'The OpenBao: https://HOST:PORT' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l openbao-ca -d 'The authorities for its certificate, as PEM; else the system\'s' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l openbao-namespace -d 'Its namespace' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l token-file -d 'A file with a token of OpenBao' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l delete -d 'Remove each Secret that is in OpenBao and no longer used'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -l json -d 'Print the result as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand migrate" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l values -d 'What differs from the defaults; also the values of the Helm chart' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l registry -d 'Where the images are that the values do not name: HOST/PATH' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l tag -d 'Their tag' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l openbao -d 'The OpenBao of pods, where the values name none: https://HOST:PORT' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l openbao-ca -d 'The authorities for its certificate, as PEM' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l invitation -d 'An invitation of the bridge beside OpenBao, in a file, or - for standard input. It is a secret: not on a command line' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l bridge -d 'The key of the bridge that this cluster is enrolled at: ed25519:…; none to give it up' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -s n -l namespace -d 'Where the operator runs' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l kubeconfig -d 'The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l context -d 'The context in it; else its current one' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l wait -d 'How long to wait until it is ready; 0 not to' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l take-over -d 'Take fields over that somebody else has set'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -l json -d 'Print the result as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand upgrade" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand uninstall" -l kubeconfig -d 'The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand uninstall" -l context -d 'The context in it; else its current one' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand uninstall" -l wait -d 'How long to wait until all is gone' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand uninstall" -l even-if-used -d 'Also while pods are opted in'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand uninstall" -l json -d 'Print the result as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand uninstall" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand uninstall" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l canary-file -d 'Read the canary, the value to look for, from a file; `-` is standard input' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l canary-env -d 'Take the canary from this variable of your own environment; debuggers ask for the same name' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l needle-fd -d 'Read the canary from an open descriptor' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l env -d 'The variable that a debugger makes the target look up' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l as-uid -d 'Probe as this user, without capabilities. The group is the target\'s unless given' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l json -d 'Print the report as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l tree -d 'Probe all descendants too'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l active -d 'Try the active roads (the default)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l no-active -d 'Only read; run nothing inside the target'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -l destructive -d 'Also kill the target to get a core file from the kernel'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand probe" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain test help" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain test help" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain test help" -f -a "check" -d 'Read a policy, and say what is wrong with it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain test help" -f -a "explain" -d 'Say whether a path would be released to a workload, and which rule decides'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain test help" -f -a "test" -d 'Try a file of cases'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain test help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l identity -d 'Who asks: issuer:namespace/serviceaccount' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l path -d 'For which path; for decrypt it is MOUNT/decrypt/KEY' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l action -d 'To do what with it' -r -f -a "decrypt\t''
read\t''
write\t''"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l level -d 'What the launch has reached, such as memory=sealed,agent=enforcing. What is not named is at its weakest' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l approved-by -d 'Who has approved it' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l released -d 'How often it was released to this pod before' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l last-hour -d 'How often of that in the last hour' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l json -d 'Print the answer as JSON: {released, rule?, line?, why}'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from test" -l json -d 'Print one JSON object: {passed, failed, cases [{name, passed, expected, got, rule, line, why}]}'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from test" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "check" -d 'Read a policy, and say what is wrong with it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "explain" -d 'Say whether a path would be released to a workload, and which rule decides'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "test" -d 'Try a file of cases'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and not __fish_seen_subcommand_from check export explain help" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and not __fish_seen_subcommand_from check export explain help" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and not __fish_seen_subcommand_from check export explain help" -f -a "check" -d 'Say what in these files would break a step of ours, or leak a value'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and not __fish_seen_subcommand_from check export explain help" -f -a "export" -d 'Print what cloudtaser needs, in another tool\'s language'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and not __fish_seen_subcommand_from check export explain help" -f -a "explain" -d 'Explain a rule, or list all of them'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and not __fish_seen_subcommand_from check export explain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l kubeconfig -d 'The file that says where the cluster is; else KUBECONFIG, else ~/.kube/config' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l context -d 'The context in it; else its current one' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l format -d 'How to tell it' -r -f -a "json\t''
sarif\t''
text\t''"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l fail-on -d 'The least that makes the exit code 1' -r -f -a "breaks\t''
leaks\t''
blinds\t''
noisy\t''
never\t''"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l endpoint -d 'Where OpenBao or a beacon is, HOST:PORT or :PORT; may be repeated. Without it VAULT_ADDR and BAO_ADDR of the pods say so, and then the ports 8200 and 443' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l posture -d 'What KubeArmor\'s allow-lists do with the rest, where no file says so' -r -f -a "audit\t''
block\t''"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l wrapper -d 'The wrapper in a pod' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l token -d 'The token that the wrapper logs in with' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l cluster -d 'Ask a running cluster for its policies and workloads, besides the files: those are judged as if they were applied to it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -l fix -d 'Write exceptions into the files; of a cluster\'s objects a patch is printed, and nothing is changed there'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from export" -l wrapper -d 'The wrapper in a pod' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from export" -l token -d 'The token that the wrapper logs in with' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from export" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from explain" -l dir -d 'Write a page for each rule into this directory, and a list of them' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from explain" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from help" -f -a "check" -d 'Say what in these files would break a step of ours, or leak a value'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from help" -f -a "export" -d 'Print what cloudtaser needs, in another tool\'s language'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from help" -f -a "explain" -d 'Explain a rule, or list all of them'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand compose; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and not __fish_seen_subcommand_from init export verify node show reconcile" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and not __fish_seen_subcommand_from init export verify node show reconcile" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and not __fish_seen_subcommand_from init export verify node show reconcile" -f -a "init" -d 'Make the keys of a log and a policy that believes it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and not __fish_seen_subcommand_from init export verify node show reconcile" -f -a "export" -d 'Write a bundle for an auditor: receipts, proofs, and the names that you open'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and not __fish_seen_subcommand_from init export verify node show reconcile" -f -a "verify" -d 'Verify a bundle, a tlog-proof or a whole log, and say what it shows'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and not __fish_seen_subcommand_from init export verify node show reconcile" -f -a "node" -d 'Verify what a node signed, and say what it shows'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and not __fish_seen_subcommand_from init export verify node show reconcile" -f -a "show" -d 'Print the receipts of a bundle or a log, without verifying them'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and not __fish_seen_subcommand_from init export verify node show reconcile" -f -a "reconcile" -d 'Compare a log with OpenBao\'s audit log: what does either side lack?'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from init" -l name -d 'The log\'s name (its origin), best a host and a path of yours: `eu.example.org/log`' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from init" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l out -d 'The file to write' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l format -d 'Of which form' -r -f -a "bundle\t'Receipts with proofs, openings and documents, in one file'
tlog-proof\t'One receipt, as C2SP tlog-proof has it'"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l index -d 'The receipt at this position only' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l from -d 'From this position on' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l to -d 'Up to this position, which is in' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l cluster -d 'Receipts of this cluster only' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l pod -d 'Receipts of this pod only' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l open -d 'Open a name for the auditor, and take only receipts with such names' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l names-key -d 'The owner\'s key to names' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -l since -d 'Prove that the log grew from this older checkpoint' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from export" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l policy -d 'Whom to believe (C2SP tlog-policy)' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l seen -d 'A checkpoint of the same log that came another way, to find a fork' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l later -d 'A later bundle of the same log (`export --since`): shows that this is of the log\'s past where its key was replaced since' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l release-policy -d 'A release policy of the bridge\'s, to name the nodes whose statements are in a bundle' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l bao-audit -d 'OpenBao\'s audit log, to find releases without a receipt' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l prefix -d 'Paths that only the bridge may read; without it, all paths of secrets engines' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l open -d 'Name a secret in a log\'s folder, to count its releases' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l names-key -d 'The owner\'s key to names' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l require -d 'Claims that must pass' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -l json -d 'Print the result as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from verify" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from node" -l release-policy -d 'A release policy, which knows nodes and their TPMs' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from node" -l hardware-dir -d 'A folder with AMD\'s certificates (DER) and Intel\'s collateral (JSON), for what an agent answers' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from node" -l session -d 'The session that it must be for' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from node" -l sealing -d 'The sealing key\'s hash that it must be for' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from node" -l pod -d 'The pod that it must be about' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from node" -l json -d 'Print what it shows as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from node" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from node" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from show" -l last -d 'Only so many, the last ones' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from show" -l json -d 'Print one JSON object per receipt'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from reconcile" -l policy -d 'Whom to believe (C2SP tlog-policy)' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from reconcile" -l bao-audit -d 'OpenBao\'s audit log: JSON lines, as its file device writes them' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from reconcile" -l prefix -d 'Paths that only the bridge may read; without it, all paths of secrets engines' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from reconcile" -l json -d 'Print the result as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from reconcile" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand evidence; and __fish_seen_subcommand_from reconcile" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l policy -d 'Whom to believe (C2SP tlog-policy)' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l seen -d 'A checkpoint of the same log that came another way, to find a fork' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l later -d 'A later bundle of the same log (`export --since`): shows that this is of the log\'s past where its key was replaced since' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l release-policy -d 'A release policy of the bridge\'s, to name the nodes whose statements are in a bundle' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l bao-audit -d 'OpenBao\'s audit log, to find releases without a receipt' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l prefix -d 'Paths that only the bridge may read; without it, all paths of secrets engines' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l framework -d 'For which rules' -r -f -a "dora\t'Regulation (EU) 2022/2554 and its technical standard 2024/1774'
nis2\t'Directive (EU) 2022/2555'
gdpr\t'Regulation (EU) 2016/679'
schrems2\t'Case C-311/18 with EDPB Recommendations 01/2020'
all\t'All of them'"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l out -d 'The page to write' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -l json -d 'Print the report as JSON'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand report" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and not __fish_seen_subcommand_from init serve" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and not __fish_seen_subcommand_from init serve" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and not __fish_seen_subcommand_from init serve" -f -a "init" -d 'Make a witness\'s key'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and not __fish_seen_subcommand_from init serve" -f -a "serve" -d 'Sign checkpoints of logs that only grow'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and __fish_seen_subcommand_from init" -l name -d 'The witness\'s name, best a host of yours: `dpo.example.org`' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and __fish_seen_subcommand_from init" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and __fish_seen_subcommand_from serve" -l log -d 'The public key of a log to sign for; may be given more than once' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and __fish_seen_subcommand_from serve" -l listen -d 'Where to listen' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and __fish_seen_subcommand_from serve" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand witness; and __fish_seen_subcommand_from serve" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand completions" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand completions" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand man" -l dir -d 'Write one page per verb into this directory' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand man" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand man" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "agent" -d 'Ask the agent of this node, or order it: status, guard, grant, grants, unload'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "run" -d 'Start a program with secrets from OpenBao in sealed memory'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "demo" -d 'Show what an attacker gets, without and with cloudtaser, on this machine'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "install" -d 'Put cloudtaser on a cluster'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "status" -d 'Say what is protected on a cluster, at which level, and why not'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "doctor" -d 'Say what stands in the way, on a cluster or this machine, and how to mend it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "discover" -d 'Find workloads that use Kubernetes Secrets, and plan their way out'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "migrate" -d 'Copy the values of Kubernetes Secrets into OpenBao, as a plan says'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "upgrade" -d 'Renew the cloudtaser of a cluster'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "uninstall" -d 'Take cloudtaser off a cluster, and leave nothing'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "probe" -d 'Attack a running process: try every road by which others could read its secrets'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "policy" -d 'Say what a release policy of a bridge would do'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "compose" -d 'Check policies of KubeArmor, Tetragon, seccomp and Kubernetes against what cloudtaser needs'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "evidence" -d 'Work with receipts of releases: make keys, export, show, verify, compare'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "report" -d 'Write a report for DORA, NIS2, GDPR or Schrems II from evidence that verifies'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "witness" -d 'Run a witness of logs: sign that they only grow'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "bridge" -d 'Beside OpenBao: set up the bridge, invite clusters, let them in, put them out'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "broker" -d 'In the cluster: join a bridge by an invitation, and carry what programs there say to it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "completions" -d 'Print completions for a shell'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "man" -d 'Print the manual page, or write one per verb'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from agent run demo install status doctor discover migrate upgrade uninstall probe policy compose evidence report witness bridge broker completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "check" -d 'Read a policy, and say what is wrong with it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "explain" -d 'Say whether a path would be released to a workload, and which rule decides'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "test" -d 'Try a file of cases'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from compose" -f -a "check" -d 'Say what in these files would break a step of ours, or leak a value'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from compose" -f -a "export" -d 'Print what cloudtaser needs, in another tool\'s language'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from compose" -f -a "explain" -d 'Explain a rule, or list all of them'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from evidence" -f -a "init" -d 'Make the keys of a log and a policy that believes it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from evidence" -f -a "export" -d 'Write a bundle for an auditor: receipts, proofs, and the names that you open'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from evidence" -f -a "verify" -d 'Verify a bundle, a tlog-proof or a whole log, and say what it shows'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from evidence" -f -a "node" -d 'Verify what a node signed, and say what it shows'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from evidence" -f -a "show" -d 'Print the receipts of a bundle or a log, without verifying them'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from evidence" -f -a "reconcile" -d 'Compare a log with OpenBao\'s audit log: what does either side lack?'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from witness" -f -a "init" -d 'Make a witness\'s key'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from witness" -f -a "serve" -d 'Sign checkpoints of logs that only grow'
