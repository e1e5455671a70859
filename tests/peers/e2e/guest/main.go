// SPDX-License-Identifier: Apache-2.0

// Guest is the only program of the test's image: what a sandbox and a container run. It waits for its
// end. It takes SIGTERM for it, so that no pod waits for its grace period.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
