"""Strawberry: GraphQL with queries, mutations, uploads, and subscriptions by WebSocket and SSE."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import strawberry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from strawberry.asgi import GraphQL
from strawberry.file_uploads import Upload

EVENTS: list[str] = []


@strawberry.type
class User:
    name: str
    age: int

    @strawberry.field
    async def friends(self) -> list["User"]:
        return [User(name="Bob", age=self.age + 1)]


@strawberry.type
class Query:
    @strawberry.field
    def user(self, name: str = "Ada") -> User:
        return User(name=name, age=36)

    @strawberry.field
    async def fails(self) -> str:
        raise ValueError("on purpose")


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def rename(self, name: str) -> User:
        return User(name=name.upper(), age=1)

    @strawberry.mutation
    async def read(self, file: Upload) -> str:
        return (await file.read()).decode()


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int = 3) -> AsyncGenerator[int, None]:
        try:
            for number in range(to):
                yield number
                await asyncio.sleep(0.001)
        finally:
            EVENTS.append(f"count to {to} over")

    @strawberry.subscription
    async def fails(self) -> AsyncGenerator[int, None]:
        yield 1
        raise ValueError("on purpose")


async def events(request: Request) -> Response:
    return JSONResponse(EVENTS)


schema = strawberry.Schema(query=Query, mutation=Mutation, subscription=Subscription)
graphql: Any = GraphQL(schema, multipart_uploads_enabled=True)
app = Starlette(routes=[Route("/events", events), Mount("/graphql", graphql)])
