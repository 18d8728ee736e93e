package master_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/localapi"
	"github.com/personal-power-plant/p3/node/master"
	"github.com/personal-power-plant/p3/node/nodetest"
)

// A countdown: each result makes the next unit. With a node of your own, leave out standIn and give
// node.DefaultSocket(node.DefaultDir()) to NewClient.
func ExampleFarm_Run() {
	socket, stop := standIn() // its programs echo
	defer stop()
	ctx := context.Background()
	f, err := master.Open(ctx, node.NewClient(socket), os.Args[0], exec.Manifest{Verify: exec.VerifyAuto}, master.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Cancel()
	err = f.Run(ctx, slices.Values([]exec.Input{master.Text("3")}), func(r node.UnitResult) ([]exec.Input, error) {
		n, err := strconv.Atoi(string(r.Result.Stdout))
		fmt.Println("unit", r.Unit, "says", n)
		if err != nil || n == 0 {
			return nil, err
		}
		return []exec.Input{master.Text(strconv.Itoa(n - 1))}, nil
	})
	fmt.Println(err)
	// Output:
	// unit 0 says 3
	// unit 1 says 2
	// unit 2 says 1
	// unit 3 says 0
	// <nil>
}

// standIn is a node in memory.
func standIn() (socket string, stop func()) {
	dir, err := os.MkdirTemp("", "p3")
	if err != nil {
		panic(err)
	}
	l, err := localapi.Listen(dir + "/s")
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go localapi.Serve(ctx, l, nodetest.New(nodetest.State{}))
	return dir + "/s", func() { cancel(); os.RemoveAll(dir) }
}
