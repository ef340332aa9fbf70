// Asks servers as the gRPC and gRPC-Web clients of npm do:
// client.mjs KEYS ADDRESS ADDRESS-INSIDE-WEB ADDRESS-OUTSIDE-WEB

import { create, createFileRegistry } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { createClient } from '@connectrpc/connect';
import { createGrpcTransport, createGrpcWebTransport } from '@connectrpc/connect-node';
import grpc from '@grpc/grpc-js';
import improbable from '@improbable-eng/grpc-web';
import { NodeHttpTransport } from '@improbable-eng/grpc-web-node-http-transport';
import web from 'grpc-web';
import XMLHttpRequest from 'xhr2';

// What a browser has.
globalThis.XMLHttpRequest = XMLHttpRequest;

const [keys, alone, inside, outside] = process.argv.slice(2);
const OK = { code: 0, message: '' };
const nothing = () => new Uint8Array();
const metadata = (key) => (key ? { 'x-key': key } : {});

function grpcJs(address) {
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  return (key) =>
    new Promise((resolve) => {
      const sent = grpc.Metadata.fromHttp2Headers(metadata(key));
      const answer = (error) => resolve(error ? { code: error.code, message: error.details } : OK);
      const empty = () => Buffer.alloc(0);
      client.makeUnaryRequest('/whoami.WhoAmI/Ask', empty, (bytes) => bytes, {}, sent, answer);
    });
}

function grpcWeb(address, format) {
  const client = new web.GrpcWebClientBase({ format });
  const url = `http://${address}/whoami.WhoAmI/Ask`;
  const unary = web.MethodType.UNARY;
  const method = new web.MethodDescriptor(url, unary, Object, Object, nothing, (bytes) => bytes);
  return (key) =>
    client.unaryCall(url, {}, metadata(key), method).then(
      () => OK,
      ({ code, message }) => ({ code, message }),
    );
}

function improbableWeb(address) {
  class Message {
    static deserializeBinary() {
      return new Message();
    }
    serializeBinary() {
      return nothing();
    }
    toObject() {
      return {};
    }
  }
  const method = {
    methodName: 'Ask',
    service: { serviceName: 'whoami.WhoAmI' },
    requestStream: false,
    responseStream: false,
    requestType: Message,
    responseType: Message,
  };
  return (key) =>
    new Promise((resolve) =>
      improbable.grpc.unary(method, {
        request: new Message(),
        host: `http://${address}`,
        metadata: metadata(key),
        transport: NodeHttpTransport(),
        onEnd: ({ status, statusMessage }) => resolve({ code: status, message: statusMessage }),
      }),
    );
}

function connect(transport) {
  const file = {
    name: 'whoami.proto',
    package: 'whoami',
    syntax: 'proto3',
    messageType: [{ name: 'Nothing' }],
    service: [
      {
        name: 'WhoAmI',
        method: [{ name: 'Ask', inputType: '.whoami.Nothing', outputType: '.whoami.Nothing' }],
      },
    ],
  };
  const files = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
  const client = createClient(files.getService('whoami.WhoAmI'), transport);
  return (key) =>
    client.ask({}, { headers: metadata(key) }).then(
      () => OK,
      ({ code, rawMessage }) => ({ code, message: rawMessage }),
    );
}

const clients = {
  'grpc-js': grpcJs(alone),
  'connect-node, gRPC': connect(createGrpcTransport({ baseUrl: `http://${alone}` })),
};
for (const [place, address] of Object.entries({ inside, outside })) {
  // Over HTTP/1.1 it sends the body apart from the head: a server that answers before it has come
  // closes the connection, and the client may report that instead.
  const transport = createGrpcWebTransport({ baseUrl: `http://${address}`, httpVersion: '2' });
  clients[`grpc-web, binary, ${place}`] = grpcWeb(address, 'binary');
  clients[`grpc-web, text, ${place}`] = grpcWeb(address, 'text');
  clients[`improbable-eng/grpc-web, ${place}`] = improbableWeb(address);
  clients[`connect-node, gRPC-Web, ${place}`] = connect(transport);
}
for (const [client, ask] of Object.entries(clients)) {
  for (const key of keys.split(',')) {
    console.log(JSON.stringify({ client, key, ...(await ask(key)) }));
  }
}
process.exit(0);
