// A client made of x/crypto/ssh and its knownhosts package: authorities where known_hosts names
// them, plain lines elsewhere. Prints what it saw.
//
//	ssh-go PORT USER KNOWN_HOSTS [KEY]
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func dial(port, user, known string, algorithms []string, keys []string) (*ssh.Client, error) {
	verify, err := knownhosts.New(known)
	check(err)
	config := &ssh.ClientConfig{User: user, HostKeyCallback: verify, HostKeyAlgorithms: algorithms}
	for _, key := range keys {
		text, err := os.ReadFile(key)
		check(err)
		signer, err := ssh.ParsePrivateKey(text)
		check(err)
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	return ssh.Dial("tcp", "127.0.0.1:"+port, config)
}

func run(client *ssh.Client, command string, input io.Reader) (string, string, int) {
	session, err := client.NewSession()
	check(err)
	defer session.Close()
	var out, errs bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = input, &out, &errs
	err = session.Run(command)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return out.String(), errs.String(), exit.ExitStatus()
	}
	check(err)
	return out.String(), errs.String(), 0
}

func main() {
	port, user, known, keys := os.Args[1], os.Args[2], os.Args[3], os.Args[4:]
	client, err := dial(port, user, known, nil, keys)
	check(err)
	fmt.Println(run(client, "echo out; echo err >&2; exit 3", nil))
	out, _, status := run(client, "cat", strings.NewReader(strings.Repeat("0123456789abcdef", 1<<18)))
	fmt.Printf("%d bytes %x %d\n", len(out), sha256.Sum256([]byte(out)), status)

	session, err := client.NewSession()
	check(err)
	check(session.RequestPty("xterm", 33, 99, ssh.TerminalModes{ssh.ECHO: 0}))
	size, err := session.Output("stty size")
	check(err)
	fmt.Printf("terminal %q\n", size)

	var group sync.WaitGroup
	found := make([]string, 8)
	for n := range found {
		group.Add(1)
		go func() {
			defer group.Done()
			out, _, status := run(client, fmt.Sprintf("seq %d %d; exit %d", n, n+20000, n), nil)
			found[n] = fmt.Sprintf("%d:%d:%d", n, len(out), status)
		}()
	}
	group.Wait()
	fmt.Println(strings.Join(found, " "))
	client.Close()

	for _, algorithm := range []string{ssh.KeyAlgoED25519, ssh.CertAlgoED25519v01} {
		client, err := dial(port, user, known, []string{algorithm}, keys)
		if err != nil {
			fmt.Println(algorithm, "no")
			continue
		}
		fmt.Println(algorithm, "yes")
		client.Close()
	}
}
