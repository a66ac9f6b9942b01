// Package forward carries connections from one address to another: the cluster's node reaches by it what listens on the host's
// own loopback address.
package forward

import (
	"fmt"
	"io"
	"net"
	"os"
)

// Main runs until killed. Arguments: the address to listen on, and the one to call.
func Main(args []string) {
	if len(args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: forward LISTEN TARGET")
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go carry(client, args[2])
	}
}

func carry(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer server.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
		close(done)
	}()
	io.Copy(client, server)
	client.(*net.TCPConn).CloseWrite()
	<-done
}
