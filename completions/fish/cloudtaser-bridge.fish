# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_cloudtaser_bridge_global_optspecs
    string join \n h/help V/version
end

function __fish_cloudtaser_bridge_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_cloudtaser_bridge_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_cloudtaser_bridge_using_subcommand
    set -l cmd (__fish_cloudtaser_bridge_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -s V -l version -d 'Print version'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "init" -d 'Make the bridge\'s keys and an empty enrolment in a folder, and print the public key'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "serve" -d 'Serve until SIGTERM'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "check-config" -d 'Read a configuration, say what is wrong with it, and end'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "audit-hash" -d 'Print the hash by which the audit file names a path'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "admit" -d 'Print the file with which a client finds this bridge and is let in'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "keygen" -d 'Make a client\'s key, and print its public half'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "rotate-log-key" -d 'Give the log of receipts another key'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "issuer-keys" -d 'Print the keys by which tokens of clusters are believed, or put others in their place'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "node-challenge" -d 'Print a challenge for a node\'s TPM, and keep what it must answer'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "node-enrol" -d 'Check the answer, and print the node\'s entry for the release policy'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "invite" -d 'Print an invitation for one cluster. It is shown once and kept nowhere: only its hash is'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "approve" -d 'Let a cluster in that has joined, by its key in full, and believe its issuer\'s keys, by their fingerprint: both as the cluster\'s side shows them'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "revoke" -d 'Put a cluster out: its sessions end at once, and it cannot come back with the same key'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "status" -d 'Print how OpenBao stands, and who is invited, waits, is in, is out'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "approve-release" -d 'Sign that a path may be released to a workload. Print the order, for whoever runs the bridge'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "break-glass" -d 'Sign that demands of a rule are set aside for a while. Print the order'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "order" -d 'Take an order: look at it as the bridge does, and put it where the bridge looks'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "orders" -d 'Print the orders that are there, and which are in force'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "proxy" -d 'At the client: open a door behind which is OpenBao'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand init" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand serve" -l config -d 'The configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand serve" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand audit-hash" -l config -d 'The configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand audit-hash" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand admit" -l config -d 'The bridge\'s configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand admit" -l client-key -d 'The client\'s public key, as `keygen` prints it' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand admit" -l days -d 'For how many days from today' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand admit" -l max-tunnels -d 'How many tunnels it may have at once' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand admit" -l json -d 'As JSON, which is what a wrapper reads'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand admit" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand keygen" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand rotate-log-key" -l config -d 'The configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand rotate-log-key" -l now -d 'Replace the key'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand rotate-log-key" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand issuer-keys" -l config -d 'The bridge\'s configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand issuer-keys" -l issuer -d 'Of this [[release.issuer]] alone, by its name' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand issuer-keys" -l take -d 'Believe the keys of this file from now on, and no others; - is standard input. It is what `kubectl get --raw /openid/v1/jwks` prints. A bridge that runs hears of it by itself' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand issuer-keys" -l all-new -d 'Take them although none of them is believed already, which looks like another cluster\'s'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand issuer-keys" -l pem -d 'Print them as PEM, for jwt_validation_pubkeys in OpenBao'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand issuer-keys" -l json -d 'As JSON'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand issuer-keys" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-challenge" -l identity -d 'What `cloudtaser-agent tpm identity` printed on the node' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-challenge" -l keep -d 'Where to keep the answer until it comes' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-challenge" -l ek-root -d 'A root of a maker of TPMs (PEM or DER): the certificate in the TPM must be under one of these' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-challenge" -l ek-authority -d 'An authority between root and certificate' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-challenge" -l ek-revoked -d 'A list of certificates that a maker revoked' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-challenge" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-enrol" -l identity -d 'The same identity' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-enrol" -l keep -d 'What `node-challenge` kept; removed when the node is enrolled' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-enrol" -l answer -d 'What `cloudtaser-agent tpm answer` printed on the node' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-enrol" -l place -d 'Whose the machine is: a provider\'s TPM proves nothing against the provider' -r -f -a "provider\t'The provider\'s'
own\t'Your own, or of a host that you trust with it'"
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-enrol" -l ek-root -d 'A root of a maker of TPMs (PEM or DER): the certificate in the TPM must be under one of these' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-enrol" -l ek-authority -d 'An authority between root and certificate' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-enrol" -l ek-revoked -d 'A list of certificates that a maker revoked' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand node-enrol" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand invite" -l config -d 'The bridge\'s configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand invite" -l name -d 'What you call the cluster' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand invite" -l hours -d 'For how long the invitation is good' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand invite" -l max-tunnels -d 'How many tunnels the cluster may have at once' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand invite" -l approved -d 'Let in at once whoever uses it first, without a look at its key: for one that goes straight from here into `cloudtaser install`'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand invite" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve" -l config -d 'The bridge\'s configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve" -l issuer-keys -d 'Believe tokens by the keys that the cluster shows, and by no others: sha256:…, as `cloudtaser install` and `cloudtaser status` print it at the cluster. Also for a cluster that is let in already, after its API server\'s keys were rotated' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand revoke" -l config -d 'The bridge\'s configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand revoke" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand status" -l config -d 'The bridge\'s configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand status" -l json -d 'As JSON'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand status" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve-release" -l key -d 'Your private key, as `keygen` or `openssl genpkey -algorithm ed25519` makes it' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve-release" -l as -d 'Your name as a `[[signer]]` of the policy' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve-release" -l bridge -d 'The public key of the bridge that it is for: ed25519:…' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve-release" -l reason -d 'Why. It is in the log for good' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve-release" -l path -d 'The path, such as secret/pay/db' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve-release" -l workload -d 'The workload: issuer:namespace/serviceaccount' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve-release" -l hours -d 'For how long, from now on' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand approve-release" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand break-glass" -l key -d 'Your private key, as `keygen` or `openssl genpkey -algorithm ed25519` makes it' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand break-glass" -l as -d 'Your name as a `[[signer]]` of the policy' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand break-glass" -l bridge -d 'The public key of the bridge that it is for: ed25519:…' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand break-glass" -l reason -d 'Why. It is in the log for good' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand break-glass" -l rule -d 'The rule of the policy' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand break-glass" -l relax -d 'What of it is set aside' -r -f -a "approvals\t'That people approve'
level\t'How the launch is protected'
limit\t'How much a pod gets'"
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand break-glass" -l minutes -d 'For how long, from now on' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand break-glass" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand order" -l config -d 'The bridge\'s configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand order" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand orders" -l config -d 'The bridge\'s configuration' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand orders" -l json -d 'As JSON'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand orders" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand proxy" -l via -d 'The file that `admit` printed' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand proxy" -l key -d 'The client\'s private key' -r -F
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand proxy" -l listen -d 'Where to listen. Whoever can connect there can talk to OpenBao' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand proxy" -l patience-seconds -d 'How long to try for each connection' -r
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand proxy" -l beyond-loopback -d 'Listen also where other machines can connect'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand proxy" -s h -l help -d 'Print help'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "init" -d 'Make the bridge\'s keys and an empty enrolment in a folder, and print the public key'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "serve" -d 'Serve until SIGTERM'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "check-config" -d 'Read a configuration, say what is wrong with it, and end'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "audit-hash" -d 'Print the hash by which the audit file names a path'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "admit" -d 'Print the file with which a client finds this bridge and is let in'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "keygen" -d 'Make a client\'s key, and print its public half'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "rotate-log-key" -d 'Give the log of receipts another key'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "issuer-keys" -d 'Print the keys by which tokens of clusters are believed, or put others in their place'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "node-challenge" -d 'Print a challenge for a node\'s TPM, and keep what it must answer'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "node-enrol" -d 'Check the answer, and print the node\'s entry for the release policy'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "invite" -d 'Print an invitation for one cluster. It is shown once and kept nowhere: only its hash is'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "approve" -d 'Let a cluster in that has joined, by its key in full, and believe its issuer\'s keys, by their fingerprint: both as the cluster\'s side shows them'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "revoke" -d 'Put a cluster out: its sessions end at once, and it cannot come back with the same key'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "status" -d 'Print how OpenBao stands, and who is invited, waits, is in, is out'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "approve-release" -d 'Sign that a path may be released to a workload. Print the order, for whoever runs the bridge'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "break-glass" -d 'Sign that demands of a rule are set aside for a while. Print the order'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "order" -d 'Take an order: look at it as the bridge does, and put it where the bridge looks'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "orders" -d 'Print the orders that are there, and which are in force'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "proxy" -d 'At the client: open a door behind which is OpenBao'
complete -c cloudtaser-bridge -n "__fish_cloudtaser_bridge_using_subcommand help; and not __fish_seen_subcommand_from init serve check-config audit-hash admit keygen rotate-log-key issuer-keys node-challenge node-enrol invite approve revoke status approve-release break-glass order orders proxy help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
