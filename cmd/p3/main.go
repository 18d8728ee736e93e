// Command p3 is the Personal Power Plant: it lends this machine's idle CPU to others for
// credits, and spends credits on theirs.
package main

import "os"

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
