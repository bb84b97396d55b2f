// Asks Go's verifier about each certificate and four purposes.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	folder := os.Args[1]
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			panic(err)
		}
		return text
	}
	pool := func(name string) *x509.CertPool {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(read(name)) {
			panic(name)
		}
		return pool
	}
	purposes := []string{"server", "client", "mail", "code"}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth,
		x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageCodeSigning}
	for _, line := range strings.Split(strings.TrimSpace(string(read("cases"))), "\n") {
		file, name, _ := strings.Cut(line, " ")
		block, _ := pem.Decode(read(file + ".pem"))
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			panic(err)
		}
		for at, purpose := range purposes {
			options := x509.VerifyOptions{Roots: pool("root.pem"),
				Intermediates: pool(file + ".above.pem"),
				KeyUsages:     []x509.ExtKeyUsage{usages[at]}}
			// Only a client looks at the name of a server.
			if purpose == "server" {
				options.DNSName = name
			}
			if _, err := leaf.Verify(options); err != nil {
				fmt.Println(file, purpose, "refused", strings.ReplaceAll(err.Error(), "\n", " "))
			} else {
				fmt.Println(file, purpose, "accepted")
			}
		}
	}
}
