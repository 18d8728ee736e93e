// Hello answers its line in capitals: the smallest Go program that P3 runs.
package main

import (
	"fmt"
	"strings"

	"github.com/personal-power-plant/p3/exec/guest"
)

func main() {
	line, err := guest.Line()
	fmt.Println(strings.ToUpper(line))
	guest.Exit(err)
}
