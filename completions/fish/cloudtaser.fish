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
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "run" -d 'Start a program with secrets from OpenBao in sealed memory'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "demo" -d 'Show what an attacker gets, without and with cloudtaser, on this machine'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "probe" -d 'Attack a running process: try every road by which others could read its secrets'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "policy" -d 'Say what a release policy of a bridge would do'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "man" -d 'Print the manual page, or write one per verb'
complete -c cloudtaser -n "__fish_cloudtaser_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
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
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain help" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain help" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain help" -f -a "check" -d 'Read a policy, and say what is wrong with it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain help" -f -a "explain" -d 'Say whether a path would be released to a workload, and which rule decides'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and not __fish_seen_subcommand_from check explain help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from check" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l identity -d 'Who asks: issuer:namespace/serviceaccount' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l path -d 'For which path; for decrypt it is MOUNT/decrypt/KEY' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l action -d 'To do what with it' -r -f -a "decrypt\t''
read\t''
write\t''"
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l level -d 'What the launch has reached, such as memory=sealed,agent=enforcing. What is not named is at its weakest' -r
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -l json -d 'Print the answer as JSON: {released, rule?, why}'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from explain" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "check" -d 'Read a policy, and say what is wrong with it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "explain" -d 'Say whether a path would be released to a workload, and which rule decides'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand policy; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand completions" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand completions" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand man" -l dir -d 'Write one page per verb into this directory' -r -F
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand man" -s h -l help -d 'Print help'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand man" -s V -l version -d 'Print version'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from run demo probe policy completions man help" -f -a "run" -d 'Start a program with secrets from OpenBao in sealed memory'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from run demo probe policy completions man help" -f -a "demo" -d 'Show what an attacker gets, without and with cloudtaser, on this machine'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from run demo probe policy completions man help" -f -a "probe" -d 'Attack a running process: try every road by which others could read its secrets'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from run demo probe policy completions man help" -f -a "policy" -d 'Say what a release policy of a bridge would do'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from run demo probe policy completions man help" -f -a "completions" -d 'Print completions for a shell'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from run demo probe policy completions man help" -f -a "man" -d 'Print the manual page, or write one per verb'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and not __fish_seen_subcommand_from run demo probe policy completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "check" -d 'Read a policy, and say what is wrong with it'
complete -c cloudtaser -n "__fish_cloudtaser_using_subcommand help; and __fish_seen_subcommand_from policy" -f -a "explain" -d 'Say whether a path would be released to a workload, and which rule decides'
