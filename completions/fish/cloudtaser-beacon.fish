# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_cloudtaser_beacon_global_optspecs
    string join \n h/help V/version
end

function __fish_cloudtaser_beacon_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_cloudtaser_beacon_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_cloudtaser_beacon_using_subcommand
    set -l cmd (__fish_cloudtaser_beacon_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_needs_command" -s h -l help -d 'Print help'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_needs_command" -s V -l version -d 'Print version'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_needs_command" -f -a "serve" -d 'Serve until SIGTERM'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_needs_command" -f -a "check-config" -d 'Read a configuration, say what is wrong with it, and end'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_needs_command" -f -a "keygen" -d 'Make the key by which bridges know this beacon, and print its public half'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand serve" -l config -d 'The configuration' -r -F
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand serve" -l dev -d 'Without a configuration: a key for this run, any bridge, 127.0.0.1:8443, metrics at 9443'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand serve" -l take-over -d 'Take the place of the beacon that is at the handover_socket of the configuration, if one is: no connection is lost, its tunnels go on for as long as its drain_seconds say, and it ends'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand serve" -s h -l help -d 'Print help'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand keygen" -s h -l help -d 'Print help'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand help; and not __fish_seen_subcommand_from serve check-config keygen help" -f -a "serve" -d 'Serve until SIGTERM'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand help; and not __fish_seen_subcommand_from serve check-config keygen help" -f -a "check-config" -d 'Read a configuration, say what is wrong with it, and end'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand help; and not __fish_seen_subcommand_from serve check-config keygen help" -f -a "keygen" -d 'Make the key by which bridges know this beacon, and print its public half'
complete -c cloudtaser-beacon -n "__fish_cloudtaser_beacon_using_subcommand help; and not __fish_seen_subcommand_from serve check-config keygen help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
