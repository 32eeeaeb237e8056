# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_cloudtaser_broker_global_optspecs
    string join \n h/help V/version
end

function __fish_cloudtaser_broker_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_cloudtaser_broker_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_cloudtaser_broker_using_subcommand
    set -l cmd (__fish_cloudtaser_broker_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_needs_command" -s h -l help -d 'Print help'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_needs_command" -s V -l version -d 'Print version'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_needs_command" -f -a "endpoint" -d 'For reverse mode, where the bridge dials this broker: print what the bridge\'s file needs'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_needs_command" -f -a "join" -d 'Use an invitation: make the cluster\'s key, where there is none, and ask to be let in'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_needs_command" -f -a "serve" -d 'Serve until SIGTERM, and keep the certificate good'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_needs_command" -f -a "status" -d 'Print the cluster\'s key and whether it is let in'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand endpoint" -l state -d 'The folder of the cluster\'s keys; made where there is none' -r -F
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand endpoint" -l address -d 'The public address of the broker, as the bridge dials it: host:port' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand endpoint" -s h -l help -d 'Print help'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand join" -l state -d 'The folder of the cluster\'s key and of what the bridge gives' -r -F
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand join" -l invitation -d 'A file with the invitation, or - for standard input. It is a secret: not on a command line' -r -F
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand join" -l wait-seconds -d 'Wait so long for somebody at the bridge to say yes' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand join" -l bridge-listen -d 'Reverse mode: dial no beacon, but wait here for the bridge to dial in' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand join" -s h -l help -d 'Print help'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand serve" -l state -d 'The folder that `join` made' -r -F
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand serve" -l listen -d 'Where programs of the cluster connect. Who can connect there is of this cluster, for the bridge: let nobody else reach it' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand serve" -l bridge-listen -d 'Reverse mode: dial no beacon, but listen here for the bridge to dial in. This address may be public: it lets nobody in but the bridge' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand serve" -l door -d 'Also open a door of this machine, behind which is OpenBao' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand serve" -l admin -d 'Where metrics and health are asked for' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand serve" -l max-connections -d 'Connections at once; of one address a quarter of them, and 256 in any case' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand serve" -l drain-seconds -d 'How long connections may go on after a stop' -r
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand serve" -s h -l help -d 'Print help'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand status" -l state -d 'The folder that `join` made' -r -F
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand status" -l json -d 'As JSON'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand status" -s h -l help -d 'Print help'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand help; and not __fish_seen_subcommand_from endpoint join serve status help" -f -a "endpoint" -d 'For reverse mode, where the bridge dials this broker: print what the bridge\'s file needs'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand help; and not __fish_seen_subcommand_from endpoint join serve status help" -f -a "join" -d 'Use an invitation: make the cluster\'s key, where there is none, and ask to be let in'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand help; and not __fish_seen_subcommand_from endpoint join serve status help" -f -a "serve" -d 'Serve until SIGTERM, and keep the certificate good'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand help; and not __fish_seen_subcommand_from endpoint join serve status help" -f -a "status" -d 'Print the cluster\'s key and whether it is let in'
complete -c cloudtaser-broker -n "__fish_cloudtaser_broker_using_subcommand help; and not __fish_seen_subcommand_from endpoint join serve status help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
