// Files uses each helper of package guest once.
package main

import (
	"fmt"
	"io"

	"github.com/personal-power-plant/p3/exec/guest"
)

func main() {
	first, err := guest.Line()
	if err != nil {
		guest.Exit(err)
	}
	rest, err := guest.Input()
	if err != nil {
		guest.Exit(err)
	}
	data, err := guest.Data("words.txt")
	if err != nil {
		guest.Exit(err)
	}
	words, err := io.ReadAll(data)
	if err != nil {
		guest.Exit(err)
	}
	out, err := guest.Create("deep/answer.txt")
	if err != nil {
		guest.Exit(err)
	}
	fmt.Fprintf(out, "%s|%s|%s", first, rest, words)
	guest.Exit(out.Close())
}
