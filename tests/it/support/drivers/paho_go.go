// paho for Go as a driver of the interoperability matrix.
//
// A line of JSON on stdin is a command, a line on stdout is its answer; the commands are described in
// tests/it/support/drivers/mod.rs. This library speaks MQTT 3.1 and 3.1.1 only.
// Everything waits for an event; nothing sleeps. What takes too long or fails is answered with an error.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/ioutil"
	"net"
	"net/url"
	"os"
	"reflect"
	"time"
	"unsafe"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const patience = 40 * time.Second

type will struct {
	Topic, Payload string
	Qos            byte
	Retain         bool
}

type command struct {
	Do, Peer, Url, Id, Cafile, User, Password string
	Version                                   uint
	Clean                                     bool
	KeepAlive                                 int
	Will                                      *will
	Filter, Topic, Payload                    string
	Qos                                       byte
	Retain                                    bool
}

type answer map[string]interface{}

type peer struct {
	client   mqtt.Client
	messages chan answer
	lost     chan error
}

func (p *peer) wait(token mqtt.Token) error {
	if !token.WaitTimeout(patience) {
		return errors.New("not in time")
	}
	return token.Error()
}

func connect(wanted command) (*peer, answer, error) {
	p := &peer{messages: make(chan answer, 10000), lost: make(chan error, 10)}
	address, err := url.Parse(wanted.Url)
	if err != nil {
		return p, nil, err
	}
	options := mqtt.NewClientOptions().SetClientID(wanted.Id).SetCleanSession(wanted.Clean)
	options.SetProtocolVersion(wanted.Version).SetAutoReconnect(false).SetKeepAlive(60 * time.Second)
	switch address.Scheme {
	case "mqtt":
		address.Scheme = "tcp"
	case "mqtts":
		address.Scheme = "ssl"
	}
	options.AddBroker(address.String())
	if wanted.Cafile != "" {
		pem, err := ioutil.ReadFile(wanted.Cafile)
		if err != nil {
			return p, nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		options.SetTLSConfig(&tls.Config{RootCAs: roots, ServerName: address.Hostname()})
	}
	if wanted.User != "" {
		options.SetUsername(wanted.User).SetPassword(wanted.Password)
	}
	if wanted.Will != nil {
		options.SetWill(wanted.Will.Topic, wanted.Will.Payload, wanted.Will.Qos, wanted.Will.Retain)
	}
	options.SetDefaultPublishHandler(func(_ mqtt.Client, message mqtt.Message) {
		p.messages <- answer{
			"topic": message.Topic(), "payload": string(message.Payload()), "qos": message.Qos(),
			"retain": message.Retained(), "properties": answer{},
		}
	})
	options.SetConnectionLostHandler(func(_ mqtt.Client, err error) { p.lost <- err })
	p.client = mqtt.NewClient(options)
	token := p.client.Connect()
	err = p.wait(token)
	code := token.(*mqtt.ConnectToken).ReturnCode()
	if err != nil && (code == 0 || code > 5) {
		return p, nil, err
	}
	return p, answer{"code": code, "properties": answer{}}, nil
}

// The library does not give its socket away.
func (p *peer) socket() net.Conn {
	field := reflect.ValueOf(p.client).Elem().FieldByName("conn")
	return *(*net.Conn)(unsafe.Pointer(field.UnsafeAddr()))
}

func (p *peer) closed() error {
	select {
	case <-p.lost:
		return nil
	case <-time.After(patience):
		return errors.New("not closed in time")
	}
}

func (p *peer) obey(wanted command) (answer, error) {
	switch wanted.Do {
	case "subscribe":
		token := p.client.Subscribe(wanted.Filter, wanted.Qos, nil)
		err := p.wait(token)
		code := token.(*mqtt.SubscribeToken).Result()[wanted.Filter]
		return answer{"codes": []int{int(code)}}, err
	case "unsubscribe":
		return answer{"codes": []int{}}, p.wait(p.client.Unsubscribe(wanted.Filter))
	case "publish":
		token := p.client.Publish(wanted.Topic, wanted.Qos, wanted.Retain, wanted.Payload)
		return answer{"code": 0}, p.wait(token)
	case "message":
		select {
		case message := <-p.messages:
			return message, nil
		case <-time.After(patience):
			return nil, errors.New("no message in time")
		}
	case "closed":
		return answer{"code": nil}, p.closed()
	case "disconnect":
		p.client.Disconnect(30000)
		return answer{}, nil
	case "drop":
		p.socket().Close()
		return answer{}, p.closed()
	}
	return nil, errors.New("unknown command")
}

func main() {
	peers := map[string]*peer{}
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	output.Encode(answer{"library": "paho.mqtt.golang"})
	for {
		line, err := input.ReadBytes('\n')
		if err != nil {
			return
		}
		var wanted command
		var found answer
		if err = json.Unmarshal(line, &wanted); err == nil {
			switch wanted.Do {
			case "connect":
				peers[wanted.Peer], found, err = connect(wanted)
			case "reset":
				for _, one := range peers {
					// It panics where it is not connected.
					if one.client.IsConnected() {
						one.client.Disconnect(30000)
					}
				}
				peers, found = map[string]*peer{}, answer{}
			default:
				found, err = peers[wanted.Peer].obey(wanted)
			}
		}
		if err != nil {
			found = answer{"error": fmt.Sprint(err)}
		}
		output.Encode(found)
	}
}
